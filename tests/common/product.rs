//! Every path into the library that the tests of this folder use: when something moves in `src`, it moves here.

#![allow(unused_imports)]

pub use persistent_chat_failover::api::v1alpha1::PersistentChatFailoverSpec;
pub use persistent_chat_failover::api::{convert, crd_yaml};
pub use persistent_chat_failover::cli::from_file;
pub use persistent_chat_failover::cli::replay::{explain, next, recordings};
pub use persistent_chat_failover::controller::rights::{RIGHTS, Right, Where, rules_yaml};
pub use persistent_chat_failover::domain::backups::{
    BackupFile, BackupSet, FileHeaders, Folders, Label, Lsn, RedoPoint,
};
pub use persistent_chat_failover::domain::chain::{Chain, follow};
pub use persistent_chat_failover::domain::database_files::Move;
pub use persistent_chat_failover::domain::links::Copy;
pub use persistent_chat_failover::domain::log_shipping::{Columns, Job, SecondaryHalf};
pub use persistent_chat_failover::domain::pool::{Pool, SqlServer};
pub use persistent_chat_failover::domain::problem::{Problem, Reason};
pub use persistent_chat_failover::domain::reading::Reading;
pub use persistent_chat_failover::domain::sql_server::RestoreHistory;
pub use persistent_chat_failover::status::recording::{pack, unpack};
pub use persistent_chat_failover::systems::folders::volume;
pub use persistent_chat_failover::systems::management_shell::cmdlets;
pub use persistent_chat_failover::systems::secrets::{Credentials, Password};
pub use persistent_chat_failover::systems::settings::Settings;
pub use persistent_chat_failover::systems::sql_server::log_shipping_script::script;
pub use persistent_chat_failover::systems::sql_server::numbers::ErrorClass;
pub use persistent_chat_failover::systems::sql_server::session::TdsSession;
pub use persistent_chat_failover::systems::sql_server::{
    Cell, Ending, Parameter, Proof, Rows, ServerError, SqlError, SqlSession, Statement, content, errors,
    job_steps, read, statements,
};
