//! Columns of text. Every row is one line, so that whatever belongs to a row can stand below it.

use comfy_table::{CellAlignment, ContentArrangement, Table, presets};

/// Where the text of a column stands.
#[derive(Clone, Copy)]
pub(super) enum Column {
    Left,
    Right,
}

/// One line for each row. The last column is not filled up.
pub(super) fn lines(columns: &[Column], rows: impl IntoIterator<Item = Vec<String>>) -> Vec<String> {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).add_rows(rows);
    for (column, place) in table.column_iter_mut().zip(columns) {
        column.set_padding((0, 2));
        column.set_cell_alignment(match place {
            Column::Left => CellAlignment::Left,
            Column::Right => CellAlignment::Right,
        });
    }
    table.lines().map(|line| line.trim_end().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_what_is_in_them_also_where_letters_are_wide() {
        let rows = [["a", "1 s", "x"], ["東京", "12 min", ""], ["abcde", "", "a b"]];
        let rows = rows.map(|row| row.map(String::from).to_vec());
        let told = lines(&[Column::Left, Column::Right, Column::Left], rows);
        assert_eq!(told, ["a         1 s  x", "東京   12 min", "abcde          a b"]);
        assert!(lines(&[Column::Left], Vec::new()).is_empty());
    }
}
