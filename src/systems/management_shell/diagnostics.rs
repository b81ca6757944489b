//! What a cmdlet said, for humans. The only thing that is decided here is which command a host does not offer, by type and number.

use psrp::message::ErrorRecord;

use super::ShellOutput;
use crate::domain::lync::Diagnostics;
use crate::domain::text::clean;

/// Most errors, and most warnings, that are kept of one cmdlet.
const KEPT: usize = 10;
/// `System.Management.Automation.ErrorCategory.ObjectNotFound`.
const OBJECT_NOT_FOUND: i32 = 13;

/// All that a cmdlet said besides its objects, bounded.
pub fn of(out: &ShellOutput) -> Diagnostics {
    let mut said = Diagnostics {
        errors: bounded(out.errors.iter().map(shown).collect()),
        warnings: bounded(out.warnings.iter().map(|w| clean(w.trim())).filter(|w| !w.is_empty()).collect()),
    };
    if !out.completed {
        let last = out.progress.as_ref().map(|p| format!("{} {}", p.activity, p.status));
        let last = last.map(|l| clean(l.trim())).filter(|l| !l.is_empty());
        match (said.errors.is_empty(), last) {
            (true, None) => said.errors.push("it was stopped".into()),
            (true, Some(l)) => said.errors.push(format!("it was stopped; the last that it told of was: {l}")),
            (false, Some(l)) => said.errors.push(format!("the last that it told of was: {l}")),
            (false, None) => {}
        }
    }
    said
}

fn bounded(mut list: Vec<String>) -> Vec<String> {
    let more = list.len().saturating_sub(KEPT);
    if more > 0 {
        list.truncate(KEPT);
        list.push(format!("and {more} more"));
    }
    list
}

/// An error with all of its words, its numbers, its id, and what the cmdlet recommends. PowerShell shows the details in place of the
/// exception's message: both are shown here, and each text once.
fn shown(e: &ErrorRecord) -> String {
    let mut texts: Vec<&str> = vec![];
    let of_exceptions =
        e.exceptions.iter().flat_map(|x| std::iter::once(&x.message).chain(&x.errors).map(String::as_str));
    for text in std::iter::once(e.message.as_str()).chain(of_exceptions).map(str::trim) {
        if !text.is_empty() && !texts.iter().any(|known| known.contains(text)) {
            texts.push(text);
        }
    }
    let numbers = e.exceptions.iter().find_map(|x| Some((x.number?, x.class)));
    let numbers = match numbers {
        Some((number, Some(class))) => format!(" (number {number}, class {class})"),
        Some((number, None)) => format!(" (number {number})"),
        None => String::new(),
    };
    let id = if e.id.is_empty() { String::new() } else { format!(" [{}]", clean(&e.id)) };
    let action = e.details.recommended_action.as_deref().map(str::trim).filter(|a| !a.is_empty());
    let action = action.map(|a| format!(" (recommended: {})", clean(a))).unwrap_or_default();
    format!("{}{numbers}{id}{action}", clean(&texts.join("; ")))
}

/// Whether a cmdlet failed because the host does not have a command, or does not show it to this account; and which one, if it says
/// so: what a cmdlet itself calls may be missing.
pub(super) fn missing_command(out: &ShellOutput) -> Option<Option<&str>> {
    let not_found = |e: &&ErrorRecord| {
        let by_type = e.exceptions.iter().any(|x| {
            x.type_names.iter().any(|t| t == "System.Management.Automation.CommandNotFoundException")
        });
        let by_id = e.id.split(',').next() == Some("CommandNotFoundException");
        (by_type || by_id) && e.category.number.is_none_or(|n| n == OBJECT_NOT_FOUND)
    };
    let record = out.errors.iter().find(not_found)?;
    Some(record.category.target_name.as_deref().map(str::trim).filter(|name| !name.is_empty()))
}

#[cfg(test)]
mod tests {
    use psrp::message::Progress;

    use super::*;

    fn failed(errors: Vec<ErrorRecord>) -> ShellOutput {
        ShellOutput { errors, ..ShellOutput::default() }
    }

    #[test]
    fn every_error_and_every_warning_is_told_with_numbers_ids_and_what_is_recommended() {
        let mut first = ErrorRecord::new(
            "L'accès est refusé.",
            "AccessDenied,Set-X",
            "System.UnauthorizedAccessException",
        );
        first.details.recommended_action = Some("Demandez à l'administrateur.".into());
        let mut second = ErrorRecord::new("outer", "Sql,Set-X", "System.Data.SqlClient.SqlException");
        second.exceptions[0].number = Some(18456);
        second.exceptions[0].class = Some(14);
        second.exceptions[0].errors = vec!["outer".into(), "and inner".into()];
        let out = ShellOutput {
            completed: true,
            warnings: vec![" Le rapport : C:\\x.html\u{1b}[2J".into(), String::new()],
            ..failed(vec![first, second])
        };
        let said = of(&out);
        assert_eq!(
            said.errors,
            [
                "L'accès est refusé. [AccessDenied,Set-X] (recommended: Demandez à l'administrateur.)",
                "outer; and inner (number 18456, class 14) [Sql,Set-X]",
            ]
        );
        assert_eq!(said.warnings, [r"Le rapport : C:\x.html\u{1b}[2J"]);
        let told = said.told().unwrap();
        assert!(
            told.contains("refusé") && told.contains("and inner") && told.contains("warnings: Le rapport")
        );
    }

    #[test]
    fn what_is_said_is_bounded_and_an_end_without_a_word_is_told() {
        let out = ShellOutput {
            completed: true,
            warnings: (0..40).map(|n| format!("{n}{}", "x".repeat(5000))).collect(),
            ..ShellOutput::default()
        };
        let said = of(&out);
        assert_eq!((said.warnings.len(), said.warnings.last().unwrap().as_str()), (11, "and 30 more"));
        assert!(said.told().unwrap().len() < 11 * 700);
        assert_eq!(of(&ShellOutput::default()).errors, ["it was stopped"]);
        let progress = Some(Progress { activity: "Seeding".into(), status: "backup".into(), percent: None });
        let stopped = of(&ShellOutput { progress, ..ShellOutput::default() });
        assert_eq!(stopped.errors, ["it was stopped; the last that it told of was: Seeding backup"]);
        assert_eq!(of(&ShellOutput { completed: true, ..ShellOutput::default() }).told(), None);
    }

    #[test]
    fn a_command_that_is_missing_is_known_by_type_id_and_number_in_every_language() {
        let mut e = ErrorRecord::new(
            "Le terme n'est pas reconnu.",
            "CommandNotFoundException",
            "System.Management.Automation.CommandNotFoundException",
        );
        e.category.number = Some(13);
        assert_eq!(missing_command(&failed(vec![e.clone()])), Some(None));
        e.category.target_name = Some("Resolve-DnsName".into());
        assert_eq!(missing_command(&failed(vec![e.clone()])), Some(Some("Resolve-DnsName")));
        e.category.number = Some(18);
        assert_eq!(missing_command(&failed(vec![e])), None);
        let words = ErrorRecord::new("The term is not recognized", "X", "System.Exception");
        assert_eq!(missing_command(&failed(vec![words])), None);
    }
}
