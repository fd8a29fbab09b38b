//! Random input: what a model says is read back, and nothing depends on cuts.

use proptest::prelude::*;

use super::*;

/// `input` in pieces of these lengths, the last length for the rest.
fn pieces<'a>(input: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut rest = input;
    let mut pieces = Vec::new();
    for length in lengths {
        let (piece, behind) = rest.split_at((*length).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces.push(rest);
    pieces
}

#[derive(Clone, Debug)]
struct Model {
    method: String,
    target: String,
    fields: Vec<(String, String)>,
    body: Option<Vec<Vec<u8>>>,
    extension: String,
}

impl Model {
    fn encode(&self) -> Vec<u8> {
        let mut bytes =
            format!("{} {} HTTP/1.1\r\nHost: h\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.fields {
            bytes.extend(format!("{name}:{value} \r\n").bytes());
        }
        match &self.body {
            None => bytes.extend(b"\r\n"),
            Some(chunks) if chunks.len() == 1 => {
                bytes.extend(format!("content-LENGTH: {}\r\n\r\n", chunks[0].len()).bytes());
                bytes.extend(&chunks[0]);
            }
            Some(chunks) => {
                bytes.extend(b"Transfer-Encoding: Chunked\r\n\r\n");
                for chunk in chunks {
                    bytes.extend(format!("{:X}{}\r\n", chunk.len(), self.extension).bytes());
                    bytes.extend(chunk);
                    bytes.extend(b"\r\n");
                }
                bytes.extend(format!("00{}\r\nX-Trailer: t\r\n\r\n", self.extension).bytes());
            }
        }
        bytes
    }

    fn events(&self) -> String {
        let body = self
            .body
            .iter()
            .flatten()
            .flatten()
            .copied()
            .collect::<Vec<_>>();
        let data = if body.is_empty() {
            String::new()
        } else {
            format!("data {}, ", body.escape_ascii())
        };
        format!("head {} {}, {data}end, ", self.method, self.target)
    }
}

fn model() -> impl Strategy<Value = Model> {
    let body = proptest::option::of(proptest::collection::vec(
        proptest::collection::vec(any::<u8>(), 1..40),
        0..4,
    ));
    let fields = proptest::collection::vec(
        ("[Xx]-[!#-'*+.0-9A-Z^-z|~-]{1,12}", "[ -~\u{e9}\t]{0,20}"),
        0..6,
    );
    (
        "[A-Z]{1,8}!",
        "/[!-\"$-~]{0,30}",
        fields,
        body,
        "(;[a-z]{1,5}(=([a-z]{1,5}|\"[ a-z;]{0,5}\"))?){0,2}",
    )
        .prop_map(|(method, target, fields, body, extension)| Model {
            method,
            target,
            fields,
            body,
            extension,
        })
}

fn small_limits() -> impl Strategy<Value = HeadLimits> {
    (
        20..120_usize,
        20..120_usize,
        1..6_usize,
        0..12_usize,
        0..20_usize,
        0..30_usize,
    )
        .prop_map(
            |(head, line, fields, extension, extensions, trailer)| HeadLimits {
                head_bytes_max: head,
                line_bytes_max: line,
                fields_max: fields,
                chunk_extension_bytes_max: extension,
                chunk_extensions_bytes_max: extensions,
                trailer_bytes_max: trailer,
            },
        )
}

proptest! {
    #[test]
    fn what_a_model_says_is_read_back(
        models in proptest::collection::vec(model(), 1..4),
        lengths in proptest::collection::vec(0..60_usize, 0..12),
    ) {
        let input = models.iter().flat_map(Model::encode).collect::<Vec<_>>();
        let expected = models.iter().map(Model::events).collect::<String>() + "eof";
        let (events, heads) = run(pieces(&input, &lengths), &HeadLimits::default());
        prop_assert_eq!(events, expected);
        for (head, model) in heads.iter().zip(&models) {
            let fields = head.headers().filter(|(name, _)| name.starts_with(['X', 'x']));
            let fields = fields.map(|(name, value)| (name.into(), String::from_utf8(value.into()).unwrap()));
            let expected = model.fields.iter().map(|(name, value)| (name.clone(), value.trim_matches([' ', '\t']).into()));
            prop_assert_eq!(fields.collect::<Vec<(String, String)>>(), expected.collect::<Vec<_>>());
            prop_assert_eq!(head.path(), model.target.split('?').next().unwrap());
            prop_assert_eq!(head.query(), model.target.split_once('?').map(|(_, query)| query));
        }
    }

    #[test]
    fn a_damaged_request_is_read_the_same_however_it_is_cut(
        model in model(),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), 0..3_u8, prop::sample::select(b"\r\n\0 \t:;,0a\x7f\xff#?\"=".to_vec())), 0..4),
        limits in prop_oneof![Just(HeadLimits::default()), small_limits()],
        lengths in proptest::collection::vec(0..30_usize, 0..12),
    ) {
        let mut input = model.encode();
        for (index, kind, byte) in damage {
            let at = index.index(input.len());
            match kind {
                0 => input[at] = byte,
                1 => input.insert(at, byte),
                _ => drop(input.remove(at)),
            }
            if input.is_empty() {
                break;
            }
        }
        let whole = run([&input[..]], &limits);
        prop_assert_eq!(&run(input.chunks(1), &limits), &whole);
        prop_assert_eq!(&run(pieces(&input, &lengths), &limits), &whole);
    }

    #[test]
    fn garbage_is_read_the_same_however_it_is_cut(
        input in proptest::collection::vec(prop_oneof![
            Just(b"GET ".to_vec()), Just(b" HTTP/1.1".to_vec()), Just(b"\r\n".to_vec()), Just(b"Host: h\r\n".to_vec()),
            Just(b"Transfer-Encoding: chunked\r\n".to_vec()), Just(b"Content-Length: 3\r\n".to_vec()), Just(b"/".to_vec()),
            Just(b"0\r\n".to_vec()), Just(b"2\r\nab\r\n".to_vec()), Just(b"X: y\r\n".to_vec()), Just(b";a=b".to_vec()),
            proptest::collection::vec(any::<u8>(), 1..4),
        ], 0..20),
        limits in prop_oneof![Just(HeadLimits::default()), small_limits()],
        lengths in proptest::collection::vec(0..10_usize, 0..12),
    ) {
        let input = input.concat();
        let whole = run([&input[..]], &limits);
        prop_assert_eq!(&run(input.chunks(1), &limits), &whole);
        prop_assert_eq!(&run(pieces(&input, &lengths), &limits), &whole);
    }

    #[test]
    fn fields_that_were_accepted_are_one_line_each(name in "\\PC{0,6}|[a-zA-Z-]{1,8}", value in any::<String>()) {
        let mut fields = Fields::new();
        if fields.push(&name, &value).is_ok() {
            let expected = format!("{name}: {value}\r\n");
            prop_assert_eq!(fields.as_bytes(), expected.as_bytes());
            let lines = fields.as_bytes().iter().filter(|byte| matches!(byte, b'\r' | b'\n' | 0)).count();
            prop_assert_eq!(lines, 2);
        } else {
            prop_assert!(fields.is_empty());
        }
    }
}
