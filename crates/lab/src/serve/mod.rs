//! The running lab: every server over one world.
