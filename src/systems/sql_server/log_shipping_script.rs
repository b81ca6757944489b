//! The secondary half of log shipping as a T-SQL script: what a person needs to set it up again by hand.
//!
//! The calls and their order are those of the script that SQL Server Management Studio generates.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::statements::quote_string;
use crate::domain::log_shipping::{Job, SecondaryHalf};

/// The script. It is never run by this program.
pub fn script(ls: &SecondaryHalf, jobs: &[Job], database: &str) -> String {
    let column = |name: &str| ls.columns.get(name).map(String::as_str);
    let text = |name: &str| column(name).map_or("NULL".into(), quote_string);
    // Numbers are numbers, whatever a server says: everything else would be code.
    let number = |name: &str, default: i64| column(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let job = |id: &str, usual: &str| {
        let known = jobs.iter().find(|j| j.id.eq_ignore_ascii_case(id)).map(|j| j.name.clone());
        quote_string(&known.unwrap_or_else(|| format!("{usual}_{database}")))
    };
    let mut out = String::from(
        "-- Written by persistent-chat-failover before it removed log shipping. Run it on the secondary instance, after the database\n\
         -- has been restored there WITH NORECOVERY from a full backup of the primary.\n\
         USE master;\n\
         DECLARE @copy_job_id uniqueidentifier, @restore_job_id uniqueidentifier, @secondary_id uniqueidentifier, @schedule_id int, @rc int;\n",
    );
    let _ = writeln!(
        out,
        "EXEC @rc = master.dbo.sp_add_log_shipping_secondary_primary\n  @primary_server = {}, @primary_database = {},\n  @backup_source_directory = {}, @backup_destination_directory = {},\n  @copy_job_name = {}, @restore_job_name = {}, @file_retention_period = {},\n  @monitor_server = {}, @monitor_server_security_mode = {}, @overwrite = 1,\n  @copy_job_id = @copy_job_id OUTPUT, @restore_job_id = @restore_job_id OUTPUT, @secondary_id = @secondary_id OUTPUT;\nIF @rc <> 0 RAISERROR(N'log shipping was not set up', 16, 1);",
        text("primary_server"),
        text("primary_database"),
        text("backup_source_directory"),
        text("backup_destination_directory"),
        job(ls.copy_job(), "LSCopy"),
        job(ls.restore_job(), "LSRestore"),
        number("file_retention_period", 14_420),
        text("monitor_server"),
        number("monitor_server_security_mode", 1),
    );
    for (id, variable) in [(ls.copy_job(), "@copy_job_id"), (ls.restore_job(), "@restore_job_id")] {
        for s in ls.schedules.get(id).into_iter().flatten() {
            schedule(&mut out, s, variable);
        }
    }
    let _ = writeln!(
        out,
        "EXEC @rc = master.dbo.sp_add_log_shipping_secondary_database\n  @secondary_database = {}, @primary_server = {}, @primary_database = {},\n  @restore_delay = {}, @restore_all = {}, @restore_mode = {}, @disconnect_users = {},\n  @restore_threshold = {}, @threshold_alert = {}, @threshold_alert_enabled = {}, @history_retention_period = {}, @overwrite = 1;\nIF @rc <> 0 RAISERROR(N'log shipping was not set up', 16, 1);",
        quote_string(database),
        text("primary_server"),
        text("primary_database"),
        number("restore_delay", 0),
        number("restore_all", 1),
        number("restore_mode", 0),
        number("disconnect_users", 0),
        number("restore_threshold", 45),
        number("threshold_alert", 14_420),
        number("threshold_alert_enabled", 1),
        number("history_retention_period", 5_760),
    );
    for variable in ["@copy_job_id", "@restore_job_id"] {
        let _ = writeln!(out, "EXEC msdb.dbo.sp_update_job @job_id = {variable}, @enabled = 1;");
    }
    out
}

fn schedule(out: &mut String, s: &BTreeMap<String, String>, job: &str) {
    let number = |name: &str, default: i64| s.get(name).and_then(|v| v.parse().ok()).unwrap_or(default);
    let name = quote_string(s.get("name").map_or("log shipping", String::as_str));
    let _ = writeln!(
        out,
        "EXEC msdb.dbo.sp_add_schedule @schedule_name = {name}, @enabled = {}, @freq_type = {}, @freq_interval = {},\n  @freq_subday_type = {}, @freq_subday_interval = {}, @freq_relative_interval = {}, @freq_recurrence_factor = {},\n  @active_start_date = {}, @active_end_date = {}, @active_start_time = {}, @active_end_time = {}, @schedule_id = @schedule_id OUTPUT;\nEXEC msdb.dbo.sp_attach_schedule @job_id = {job}, @schedule_id = @schedule_id;",
        number("enabled", 1),
        number("freq_type", 4),
        number("freq_interval", 1),
        number("freq_subday_type", 4),
        number("freq_subday_interval", 15),
        number("freq_relative_interval", 0),
        number("freq_recurrence_factor", 0),
        number("active_start_date", 20_000_101),
        number("active_end_date", 99_991_231),
        number("active_start_time", 0),
        number("active_end_time", 235_900),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_inside_their_quotes_and_numbers_are_numbers() {
        let hostile = "x'; DROP DATABASE mgc; --";
        let columns = ["primary_server", "backup_source_directory", "restore_delay", "copy_job_id"];
        let ls = SecondaryHalf {
            columns: columns.map(|c| (c.to_string(), hostile.to_string())).into(),
            schedules: BTreeMap::from([(
                hostile.to_string(),
                vec![BTreeMap::from([
                    ("name".to_string(), hostile.to_string()),
                    ("freq_type".into(), hostile.into()),
                ])],
            )]),
        };
        let jobs = [Job {
            id: hostile.into(),
            name: hostile.into(),
            enabled: true,
            running: false,
            scheduled: true,
            category: hostile.into(),
            last: None,
        }];
        let script = script(&ls, &jobs, "mgc");
        assert!(script.matches("DROP DATABASE").count() >= 5, "{script}");
        assert_eq!(
            script.matches("DROP DATABASE").count(),
            script.matches("N'x''; DROP DATABASE mgc; --'").count()
        );
        assert!(script.contains("@restore_delay = 0,") && script.contains("@freq_type = 4,"));
        assert!(script.contains("@monitor_server = NULL"));
    }
}
