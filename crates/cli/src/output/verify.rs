//! What `verify` found, as people read it.

use std::io::{self, Write};
use std::time::Duration;

use engine::verify::report::{Kind, VerifyReport, VerifyState};
use owo_colors::OwoColorize;

use super::{Output, json, size, stderr, stdout, table, text};

/// So many differences are shown; the report holds more.
const SHOWN: usize = 20;

/// Prints the report.
pub(crate) fn report(out: Output, report: &VerifyReport) -> io::Result<()> {
    let mut to = stdout();
    if out.is_json() {
        json::line(&mut to, report)?;
        return to.flush();
    }
    if report.error.is_none() {
        summary(&mut to, report)?;
    }
    if let Some(run) = &report.repair {
        writeln!(to)?;
        text::summary(&mut to, run)?;
    }
    to.flush()?;
    let failed = report.error.as_ref().or_else(|| report.repair.as_ref().and_then(|run| run.error.as_ref()));
    match failed {
        Some(error) => text::error(&mut stderr(), &error.message, error.help.as_deref()),
        None => Ok(()),
    }
}

fn summary(out: &mut impl Write, report: &VerifyReport) -> io::Result<()> {
    writeln!(out, "Verified {}", report.destination.bold())?;
    for (name, value) in [("commit", &report.commit), ("receipt", &report.receipt), ("against", &report.against)] {
        if let Some(value) = value {
            writeln!(out, "  {name:<9} {value}")?;
        }
    }
    writeln!(out)?;
    let counts = [
        ("as it should be", report.objects.saturating_sub(report.missing + report.changed + report.unreadable)),
        ("missing", report.missing),
        ("changed", report.changed),
        ("left over", report.left_over),
        ("not in the commit", report.extra),
        ("unreadable", report.unreadable),
        ("foreign", report.foreign),
        ("Millrace's own", report.own),
    ];
    let rows = counts.iter().enumerate().filter(|(i, (_, n))| *i == 0 || *n > 0);
    table::columns(out, "  ", &["STATE", ">OBJECTS"], rows.map(|(_, (name, n))| vec![(*name).to_owned(), size::count(*n)]))?;
    differences(out, report)?;
    writeln!(out)?;
    report.notes.iter().try_for_each(|note| text::note(out, note))?;
    writeln!(out, "{}", ending(report).bold())
}

fn differences(out: &mut impl Write, report: &VerifyReport) -> io::Result<()> {
    if report.found.is_empty() {
        return Ok(());
    }
    writeln!(out)?;
    let rows = report.found.iter().take(SHOWN).map(|d| {
        vec![name(d.kind).to_owned(), size::key(&d.key).into_owned(), d.expected.clone(), size::key(&d.found).into_owned()]
    });
    table::columns(out, "  ", &["DIFFERENCE", "KEY", "EXPECTED", "FOUND"], rows)?;
    let more = report.differences.saturating_sub(SHOWN as u64);
    if more > 0 {
        writeln!(out, "  … and {} more", size::count(more))?;
    }
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Missing => "missing",
        Kind::Changed => "changed",
        Kind::LeftOver => "left over",
        Kind::Extra => "not in the commit",
        Kind::Unreadable => "unreadable",
    }
}

/// One line that says it all, and what was proved.
fn ending(report: &VerifyReport) -> String {
    let time = size::duration(Duration::from_millis(report.elapsed_ms));
    let how = if report.deep {
        let unproved = match report.unproved {
            0 => String::new(),
            n => format!("; of {} only the size is known", size::counted(n, "object")),
        };
        format!("bytes were read and compared ({}){unproved}", size::bytes(report.bytes))
    } else {
        "keys, sizes and etags were compared; --deep reads the bytes".to_owned()
    };
    match report.state {
        VerifyState::Equal => format!("Equal: {} in {time}; {how}.", size::counted(report.objects, "object")),
        VerifyState::Repaired => format!("Repaired: {} differed.", size::counted(report.differences, "object")),
        VerifyState::Different if report.repair.is_none() => format!(
            "Different: {} in {time}; {how}.\n--repair copies them again and deletes what was left over.",
            size::counted(report.differences, "object")
        ),
        VerifyState::Different | VerifyState::Failed => {
            format!("Different: {} in {time}; {how}.", size::counted(report.differences, "object"))
        }
    }
}

#[cfg(test)]
mod tests {
    use engine::verify::report::Difference;
    use planner::Location;

    use super::*;

    fn shown(report: &VerifyReport) -> String {
        let mut out = Vec::new();
        summary(&mut out, report).unwrap();
        anstream::adapter::strip_str(&String::from_utf8(out).unwrap()).to_string()
    }

    #[test]
    fn differences_are_a_table() {
        let mut report = VerifyReport::new(&Location::parse("s3://mirror/orders/").unwrap(), false);
        (report.objects, report.own) = (1_000, 9);
        let equal = shown(&report);
        assert!(
            equal.ends_with("Equal: 1,000 objects in 0 ms; keys, sizes and etags were compared; --deep reads the bytes.\n"),
            "{equal}"
        );
        (report.state, report.differences, report.missing) = (VerifyState::Different, 1, 1);
        report.found.push(Difference {
            key: "a/b".into(),
            kind: Kind::Missing,
            expected: "3 bytes".into(),
            found: "nothing".into(),
        });
        let different = shown(&report);
        assert!(different.contains("as it should be      999\n"), "{different}");
        assert!(different.contains("missing     a/b  3 bytes   nothing\n"), "{different}");
    }
}
