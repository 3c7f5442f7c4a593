//! The demo's table: fixed columns, cells wrapped at words, for a terminal of 120 columns.

use std::fmt::Write as _;

use crate::stage::Outcome;

/// Widths of number, scene, what was sent, answer, what happened, result.
const WIDTHS: [usize; 6] = [2, 31, 31, 7, 36, 6];

/// The first lines.
pub(crate) fn head() -> String {
    let titles = ["#", "scene", "what was sent", "answer", "what happened", ""];
    format!("{}\n{}", line(&titles.map(str::to_owned)), rule())
}

/// The line above the scenes of one kind.
pub(crate) fn act(title: &str) -> String {
    format!("   -- {title}")
}

/// A scene.
pub(crate) fn row(number: usize, title: &str, sent: &str, outcome: &Outcome) -> String {
    let result = if outcome.ok { "ok" } else { "FAILED" };
    line(&[
        number.to_string(),
        title.to_owned(),
        sent.to_owned(),
        outcome.answer.clone(),
        outcome.happened.clone(),
        result.to_owned(),
    ])
}

fn rule() -> String {
    WIDTHS.map(|width| "-".repeat(width)).join(" ")
}

/// One row, as many lines as its longest cell needs.
fn line(cells: &[String; 6]) -> String {
    let columns: Vec<Vec<String>> = cells
        .iter()
        .zip(WIDTHS)
        .map(|(cell, width)| wrap(cell, width))
        .collect();
    let height = columns.iter().map(Vec::len).max().unwrap_or(0);
    let mut text = String::new();
    for index in 0..height {
        let mut row = String::new();
        for (column, width) in columns.iter().zip(WIDTHS) {
            let cell = column.get(index).map_or("", String::as_str);
            let _infallible = write!(row, "{cell:width$} ");
        }
        text.push_str(row.trim_end());
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text
}

/// Lines of at most `width` characters, cut between words; a longer word stands alone, whole.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
