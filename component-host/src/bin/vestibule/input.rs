//! Reads a component from a file or from stdin, in binary or in text.

use crate::failure::Failure;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest input that is read: the host's own default limit for a component.
pub(crate) const MAX_INPUT: u64 = 256 << 20;

/// The bytes of the component in the file, or on stdin when the path is `-`; text is assembled.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let bytes = read_bytes(path)?;
    let wasm = if is_text(&bytes) {
        assemble(path, &bytes)?
    } else if bytes.starts_with(b"\0asm") {
        bytes
    } else {
        return Err(Failure::Error(format!(
            "{} is not a component: it begins neither with the bytes `\\0asm` nor with text such \
             as `(component` (at offset 0x0)",
            name(path)
        )));
    };
    if wasmparser::Parser::is_core_wasm(&wasm) {
        return Err(Failure::Error(format!(
            "{} is a core module, not a component; `wasm-tools component new` makes a component \
             of a core module that was built as one",
            name(path)
        )));
    }
    Ok(wasm)
}

/// How messages call the input.
pub(crate) fn name(path: &Path) -> String {
    if is_stdin(path) {
        "<stdin>".to_owned()
    } else {
        path.display().to_string()
    }
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

fn read_bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    let read = if is_stdin(path) {
        read_limited(io::stdin().lock(), 0)
    } else {
        open(path).and_then(|(file, size)| read_limited(file, size))
    };
    match read {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Failure::Error(format!(
            "{} is larger than {MAX_INPUT} bytes, the limit for a component",
            name(path)
        ))),
        Err(error) => Err(Failure::Error(format!(
            "cannot read {}: {error}",
            name(path)
        ))),
    }
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    Ok((file, size))
}

/// `None` when there is more than the limit; nothing is read when the size says so.
fn read_limited(input: impl Read, size: u64) -> io::Result<Option<Vec<u8>>> {
    if size > MAX_INPUT {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    input.take(MAX_INPUT + 1).read_to_end(&mut bytes)?;
    let fits = u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_INPUT);
    Ok(fits.then_some(bytes))
}

/// Text begins with a parenthesis or a comment; a binary begins with a zero byte.
fn is_text(bytes: &[u8]) -> bool {
    matches!(bytes.trim_ascii_start().first(), Some(b'(' | b';'))
}

fn assemble(path: &Path, text: &[u8]) -> Result<Vec<u8>, Failure> {
    let name = name(path);
    let assembled = wat::Parser::new().parse_bytes(Some(Path::new(&name)), text);
    // The error's text shows the file, the line and the column.
    assembled
        .map(std::borrow::Cow::into_owned)
        .map_err(|error| Failure::Error(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_told_by_its_first_character() {
        assert!(is_text(b"(component)"));
        assert!(is_text(b"\n  ;; a comment\n(component)"));
        assert!(!is_text(b"\0asm\x0d\0\x01\0"));
        assert!(!is_text(b""));
        assert!(!is_text(b"hello"));
    }

    #[test]
    fn a_syntax_error_names_file_line_and_column() {
        let failed = assemble(Path::new("some.wat"), b"(component\n  (nothing))");
        let Err(Failure::Error(text)) = failed else {
            panic!("{failed:?}")
        };
        assert!(text.contains("some.wat:2:4"), "{text}");
    }
}
