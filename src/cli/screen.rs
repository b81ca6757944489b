//! A terminal that is drawn anew in place. It is given back as it was, however the program ends.

use std::io::{self, Write};

use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, size,
};
use crossterm::{execute, queue};

/// The terminal's other screen, while this lives.
pub struct Screen<W: Write> {
    out: W,
}

impl<W: Write> Screen<W> {
    /// Takes the screen.
    pub fn enter(out: W) -> io::Result<Self> {
        // Made first: what is taken halfway is given back as well.
        let mut screen = Screen { out };
        execute!(screen.out, EnterAlternateScreen, Hide)?;
        Ok(screen)
    }

    /// Shows a text, each line over the one that stood there: nothing is blank in between.
    pub fn show(&mut self, text: &str) -> io::Result<()> {
        // A terminal that nobody has told its size says that it has none.
        let (width, height) = size().ok().filter(|(w, h)| *w > 0 && *h > 0).unwrap_or((80, 24));
        queue!(self.out, BeginSynchronizedUpdate)?;
        for (row, line) in (0_u16..).zip(fit(text, width, height)) {
            queue!(self.out, MoveTo(0, row), Print(line), Clear(ClearType::UntilNewLine))?;
        }
        queue!(self.out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        self.out.flush()
    }
}

impl<W: Write> Drop for Screen<W> {
    fn drop(&mut self) {
        // A terminal that has gone away needs nothing back.
        let _ = execute!(self.out, Show, LeaveAlternateScreen);
    }
}

/// What stands at the head of a picture, and is kept whatever else has no room.
const HEAD: usize = 2;

/// The lines of a text for so many columns and rows. Where there are too many, the middle goes: what is urgent stands at the end.
fn fit(text: &str, width: u16, height: u16) -> Vec<String> {
    // The last column stays free: a terminal that has filled it is at the next line already, or not.
    let width = usize::from(width).saturating_sub(1).max(1);
    let height = usize::from(height).max(HEAD + 2);
    let broken = |line: &str| {
        let indent = " ".repeat((line.len() - line.trim_start().len()).min(width / 2));
        let options = textwrap::Options::new(width).subsequent_indent(&indent);
        textwrap::wrap(line, options).into_iter().map(String::from).collect::<Vec<_>>()
    };
    let lines: Vec<String> = text.lines().flat_map(broken).collect();
    if lines.len() <= height {
        return lines;
    }
    let tail = height - HEAD - 1;
    let left_out = lines.len() - HEAD - tail;
    let note: String = format!("({left_out} lines have no room)").chars().take(width).collect();
    lines[..HEAD].iter().cloned().chain([note]).chain(lines[lines.len() - tail..].iter().cloned()).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn long_lines_are_broken_where_they_began_and_the_middle_goes_where_there_is_no_room() {
        let text = format!("name\nactive\n{}\n    a message that is long\n\nURGENT\n", "x\n".repeat(10));
        let told = fit(&text, 80, 40);
        assert_eq!((told.len(), told.last().map(String::as_str)), (16, Some("URGENT")));
        let told = fit(&text, 20, 8);
        let note = "(10 lines have no r";
        assert_eq!(told, ["name", "active", note, "", "    a message that", "    is long", "", "URGENT"]);
        for (width, height) in [(0, 0), (1, 1), (3, 200)] {
            let told = fit(&text, width, height);
            assert!(
                told.len() <= usize::from(height.max(4))
                    && told.iter().all(|l| l.chars().count() <= usize::from(width.max(2)))
            );
        }
    }

    #[test]
    fn a_screen_is_given_back_and_not_wiped_between_two_pictures() {
        let mut out = Vec::new();
        {
            let mut screen = Screen::enter(&mut out).unwrap();
            screen.show("one\ntwo").unwrap();
            screen.show("three").unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("\u{1b}[?1049h\u{1b}[?25l"), "{text:?}");
        assert!(text.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{text:?}");
        assert!(
            text.contains("\u{1b}[?2026h\u{1b}[1;1Hone\u{1b}[K\u{1b}[2;1Htwo\u{1b}[K\u{1b}[J\u{1b}[?2026l"),
            "{text:?}"
        );
        assert!(!text.contains("\u{1b}[2J"));
    }
}
