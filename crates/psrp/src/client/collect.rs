//! What a command gives, out of the fragments that come for it.

use crate::clixml::{self, Malformed, Value};
use crate::error::Error;
use crate::fragment::Assembler;
use crate::message::{self, ErrorRecord, Message, PipelineState, Progress, kind};
use crate::transport::Received;

/// Bytes of messages that one command may give in all.
///
/// At most these are held for a command, as fragments or as what was read of them, and as much again on the way from a transport
/// that pushes. A command that gives more is stopped.
pub const MAX_OUTPUT: usize = 50 * 1024 * 1024;

/// All that a command gave.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    /// Its objects.
    pub objects: Vec<Value>,
    /// Its error records, the terminating one last.
    pub errors: Vec<ErrorRecord>,
    /// Its warnings.
    pub warnings: Vec<String>,
    /// Its last progress record.
    pub progress: Option<Progress>,
    /// How the pipeline ended.
    pub state: PipelineState,
}

impl Output {
    fn empty() -> Output {
        Output {
            objects: Vec::new(),
            errors: Vec::new(),
            warnings: Vec::new(),
            progress: None,
            state: PipelineState::Failed,
        }
    }
}

/// A command gave more than is held.
pub(crate) fn too_much() -> Error {
    Error::Protocol(format!("the command gave more than {} MiB and was stopped", MAX_OUTPUT / 1024 / 1024))
}

fn bad(e: Malformed) -> Error {
    Error::Protocol(e.to_string())
}

/// Collects what comes for one pipeline.
pub(crate) struct Collector {
    assembler: Assembler,
    out: Output,
    ended: Option<PipelineState>,
    size: usize,
    /// Whether the end is the final state itself; otherwise the transport tells it.
    ends_by_state: bool,
}

impl Collector {
    pub fn new(ends_by_state: bool) -> Collector {
        Collector {
            assembler: Assembler::default(),
            out: Output::empty(),
            ended: None,
            size: 0,
            ends_by_state,
        }
    }

    /// Of a command that has said something before, to somebody else; or of which something may be missing.
    pub fn after_a_gap() -> Collector {
        Collector { assembler: Assembler::with_gaps(), ..Collector::new(false) }
    }

    /// Something may be missing from here on.
    pub fn gap(&mut self) {
        self.assembler.gap();
    }

    /// Takes what came; gives the output if that was its end.
    pub fn take(&mut self, received: &Received) -> Result<Option<Output>, Error> {
        for bytes in &received.fragments {
            self.size += bytes.len();
            if self.size > MAX_OUTPUT {
                return Err(too_much());
            }
            for m in self.assembler.push(bytes).map_err(Error::Protocol)? {
                self.message(&Message::decode(&m).map_err(bad)?)?;
            }
        }
        match self.ended {
            Some(state) if received.done || self.ends_by_state => {
                let out = std::mem::replace(&mut self.out, Output::empty());
                Ok(Some(Output { state, ..out }))
            }
            // Done without a final pipeline state is no success: the output was cut off.
            None if received.done => Err(Error::Protocol("the command ended without a final state".into())),
            Some(_) | None => Ok(None),
        }
    }

    /// Takes what came for a command whose output nobody wants any more; says whether that was its end.
    pub fn discard(&mut self, received: &Received) -> bool {
        for bytes in &received.fragments {
            match self.assembler.push(bytes) {
                Ok(messages) => {
                    let states = messages.iter().filter_map(|m| Message::decode(m).ok());
                    for m in states.filter(|m| m.kind == kind::PIPELINE_STATE) {
                        if let Ok(Some((state, _))) = message::parse_pipeline_state(&m.body) {
                            self.ended = Some(state);
                        }
                    }
                }
                // Something before it was thrown away: only the end counts.
                Err(_) => self.assembler = Assembler::default(),
            }
        }
        received.done || (self.ends_by_state && self.ended.is_some())
    }

    fn message(&mut self, m: &Message) -> Result<(), Error> {
        match m.kind {
            kind::PIPELINE_OUTPUT => self.out.objects.push(clixml::read(&m.body).map_err(bad)?),
            kind::ERROR_RECORD => {
                self.out.errors.push(ErrorRecord::from_value(&clixml::read(&m.body).map_err(bad)?));
            }
            kind::WARNING_RECORD => self.out.warnings.push(message::record_text(&m.body).map_err(bad)?),
            kind::PROGRESS_RECORD => {
                self.out.progress = Some(Progress::from_value(&clixml::read(&m.body).map_err(bad)?));
            }
            kind::PIPELINE_STATE => {
                if let Some((state, error)) = message::parse_pipeline_state(&m.body).map_err(bad)? {
                    self.out.errors.extend(error);
                    self.ended = Some(state);
                }
            }
            kind::PIPELINE_HOST_CALL => {
                if let Some(call) = message::host_call_that_waits(&m.body).map_err(bad)? {
                    return Err(Error::Protocol(format!(
                        "the command waits for an answer of its host (call {call}): there is nobody, it was stopped"
                    )));
                }
            }
            // Verbose, debug and information records, and what later versions add, say nothing that a step could use.
            _ => {}
        }
        Ok(())
    }
}
