//! JSON for scripts: one object, or for listings one a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::json;

/// Writes one object and a newline.
pub(crate) fn line(out: &mut impl Write, value: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    out.write_all(b"\n")
}

/// The error object.
pub(crate) fn error(out: &mut impl Write, kind: &str, message: &str, help: Option<&str>) -> io::Result<()> {
    let mut error = json!({ "kind": kind, "message": message });
    if let Some(help) = help {
        error["help"] = help.into();
    }
    line(out, &json!({ "error": error }))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_one_object_on_one_line() {
        let mut out = Vec::new();
        error(&mut out, "guard", "no: \"x\"", Some("do y")).unwrap();
        error(&mut out, "usage", "bad", None).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "{\"error\":{\"kind\":\"guard\",\"message\":\"no: \\\"x\\\"\",\"help\":\"do y\"}}\n\
             {\"error\":{\"kind\":\"usage\",\"message\":\"bad\"}}\n"
        );
    }
}
