//! Columns for people: a header in capitals, two blanks between columns, numbers to the right.

use std::io::{self, Write};

use comfy_table::{CellAlignment, Table, presets};

/// Writes rows under a header, each line behind `indent`. A header that starts with `>` is a column of numbers.
pub(crate) fn columns(
    out: &mut impl Write,
    indent: &str,
    header: &[&str],
    rows: impl IntoIterator<Item = Vec<String>>,
) -> io::Result<()> {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header.iter().map(|h| h.trim_start_matches('>')));
    table.add_rows(rows);
    for (column, name) in table.column_iter_mut().zip(header) {
        column.set_padding((0, 2));
        if name.starts_with('>') {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for line in table.lines() {
        writeln!(out, "{indent}{}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_left_and_numbers_right() {
        let mut out = Vec::new();
        columns(&mut out, "  ", &["NAME", ">N"], [vec!["a".into(), "1".into()], vec!["long/".into(), "1,000".into()]]).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "  NAME       N\n  a          1\n  long/  1,000\n");
    }
}
