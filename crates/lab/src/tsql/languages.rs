//! Messages in the language of a login: "The session language determines the datetime formats and system messages" (SET LANGUAGE).
//!
//! The sentences are the lab's own; what decides nothing may be worded in any way. What they hold is what the English ones hold, in the
//! same order: quoted names, and Windows' codes with their text in parentheses behind them.

use super::lexer::Token;
use super::values::{Event, SqlMessage};
use crate::scenario::Language;
use crate::sql::Session;

/// `SET LANGUAGE`: by name or alias; none: there is no such language.
fn named(t: &[Token]) -> Option<Language> {
    let name = match t.get(2)? {
        Token::Text(s) => s.as_str(),
        other => other.ident()?,
    };
    match name.to_lowercase().as_str() {
        "us_english" | "english" => Some(Language::English),
        "français" | "french" => Some(Language::French),
        "deutsch" | "german" => Some(Language::German),
        _ => None,
    }
}

/// Sets a session's language. That a name which the server does not know is error 2741 is documented; its state is not.
pub(super) fn set(s: &mut Session, t: &[Token]) -> Result<(), SqlMessage> {
    const UNKNOWN: &str = "SET LANGUAGE failed because the language is not an official language name or a language alias on this SQL Server.";
    s.options.language = named(t).ok_or_else(|| SqlMessage::refusal(2741, UNKNOWN))?;
    Ok(())
}

/// Says what was said in another language. What somebody raises has his own words.
pub(super) fn translate(language: Language, said: &mut [Event]) {
    if language == Language::English {
        return;
    }
    for event in said {
        if let Event::Error(m) | Event::Info(m) = event
            && m.number != 0
            && m.number != 50000
        {
            m.message = worded(language, m.number, &m.message);
        }
    }
}

fn worded(language: Language, number: u32, english: &str) -> String {
    let held = held(english).join(", ");
    match (language, number) {
        (Language::English, _) => english.to_string(),
        (Language::French, 3013) => "Fin anormale de RESTORE.".into(),
        (Language::German, 3013) => "RESTORE wird fehlerbedingt beendet.".into(),
        (Language::French, 3201) => {
            format!("Impossible d'ouvrir l'unité de sauvegarde. Erreur du système d'exploitation {held}.")
        }
        (Language::German, 3201) => {
            format!("Das Sicherungsmedium kann nicht geöffnet werden. Betriebssystemfehler {held}.")
        }
        (Language::French, 3203) => format!("Échec de la lecture\u{a0}: {held}."),
        (Language::German, 3203) => format!("Fehler beim Lesen von {held}."),
        (Language::French, _) => format!("Le serveur signale le message {number}\u{a0}: {held}."),
        (Language::German, _) => format!("Der Server meldet die Meldung {number}: {held}."),
    }
}

/// What a message holds besides its words: what is quoted, and codes with their text.
fn held(english: &str) -> Vec<&str> {
    let mut held = Vec::new();
    let mut rest = english;
    while let Some(at) = rest.find(|c: char| c == '\'' || c == '"' || c.is_ascii_digit()) {
        let tail = rest.get(at..).unwrap_or_default();
        let end = match tail.chars().next() {
            Some(quote @ ('\'' | '"')) => tail.get(1..).and_then(|t| t.find(quote)).map(|close| close + 2),
            Some(_) | None => {
                let digits = tail.find(|c: char| !c.is_ascii_digit()).unwrap_or(tail.len());
                let text = tail.get(digits..).filter(|t| t.starts_with('('));
                text.map_or(Some(digits), |t| t.find(')').map(|close| digits + close + 1))
            }
        };
        let (this, behind) = tail.split_at(end.unwrap_or(tail.len()));
        held.push(this);
        rest = behind;
    }
    held
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_message_holds_stays_in_every_language() {
        let english = r"Cannot open backup device 'E:\x 1.trn'. Operating system error 32(It is used.).";
        assert_eq!(held(english), [r"'E:\x 1.trn'", "32(It is used.)"]);
        for language in [Language::French, Language::German] {
            let said = worded(language, 3201, english);
            assert!(said.contains(r"'E:\x 1.trn', 32(It is used.)") && !said.contains("Operating"), "{said}");
        }
    }
}
