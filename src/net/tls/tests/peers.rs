//! Programs that others wrote: `openssl` and Python's `ssl`, over sockets. Where one is not installed, its test says so
//! and passes.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::*;

/// Long enough for a busy machine; without it a peer that says nothing would hold the tests for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// A socket that blocks: the programs at the other end are processes of their own.
struct Blocking(TcpStream);

impl Blocking {
    fn new(socket: TcpStream) -> Self {
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(socket)
    }
}

impl Stream for Blocking {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.read(buffer))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Poll::Ready(self.0.write(bytes))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(self.0.shutdown(Shutdown::Write))
    }
}

/// Files for a program, in a folder that goes with it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let name = format!("tourbillon-tls-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        fs::write(&path, text).unwrap();
        path.into_os_string().into_string().unwrap()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A program that ends with the test.
struct Program(Child);

impl Program {
    /// `None` if it is not installed.
    fn start(program: &str, arguments: &[&str]) -> Option<Self> {
        let started = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        match started {
            Ok(child) => Some(Self(child)),
            Err(error) => {
                println!("{program} is not there: {error}");
                None
            }
        }
    }

    /// Its output as lines.
    fn lines(&mut self) -> impl Iterator<Item = String> {
        let output = self.0.stdout.take().unwrap();
        BufReader::new(output).lines().map_while(Result::ok)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers each connection with what it read, in capitals, up to the client's close_notify.
const PYTHON_SERVER: &str = r#"
import socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
context.load_verify_locations(sys.argv[3])
context.set_alpn_protocols(["http/1.1"])
if sys.argv[4] == "required":
    context.verify_mode = ssl.CERT_REQUIRED
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[5])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    plain, _ = listener.accept()
    try:
        with context.wrap_socket(plain, server_side=True) as stream:
            while data := stream.recv(65536):
                stream.sendall(data.upper())
            stream.unwrap()
    except (OSError, ssl.SSLError) as error:
        print(error, file=sys.stderr)
"#;

#[test]
fn a_client_talks_to_python_with_and_without_a_certificate_in_both_versions() {
    let authority = Authority::new();
    let folder = Folder::new("python");
    let (server, client) = (authority.server(), authority.client());
    let chain = folder.write("chain", &server.chain);
    let key = folder.write("key", &server.key);
    let roots = folder.write("roots", &authority.pem());
    for (mode, version) in [
        ("none", "TLSv1_3"),
        ("none", "TLSv1_2"),
        ("required", "TLSv1_3"),
        ("required", "TLSv1_2"),
    ] {
        let script = ["-c", PYTHON_SERVER, &chain, &key, &roots, mode, version];
        let Some(mut python) = Program::start("python3", &script) else {
            return;
        };
        let port: u16 = python.lines().next().unwrap().parse().unwrap();
        let connect = async |connector: &TlsConnector| {
            let socket = TcpStream::connect(("127.0.0.1", port))?;
            let socket = Blocking::new(socket);
            let mut stream = connector.connect("server.test", socket).await?;
            assert_eq!(stream.protocol(), Some(&b"http/1.1"[..]));
            for at in 0..10_u8 {
                let sent = vec![b'a' + at; 10_000 * usize::from(at) + 1];
                stream.write_all(&sent).await?;
                let mut answer = vec![0; sent.len()];
                stream.read_exact(&mut answer).await?;
                assert!(answer.iter().all(|byte| *byte == b'A' + at));
            }
            stream.shutdown().await?;
            assert_eq!(stream.read(&mut [0]).await?, 0, "close_notify");
            io::Result::Ok(stream.is_resumed())
        };
        let plain = authority.connector().build().unwrap();
        let known = authority.connector();
        let known = known.identity(client.chain.as_bytes(), client.key.as_bytes());
        let known = known.unwrap().build().unwrap();
        run(vec![Box::pin(async {
            match mode {
                "required" => {
                    let error = tls_error(connect(&plain).await);
                    assert!(matches!(error, TlsError::Refused(_)), "{version}: {error}");
                }
                _ => assert!(!connect(&plain).await.unwrap()),
            }
            assert!(!connect(&known).await.unwrap());
            assert!(
                connect(&known).await.unwrap(),
                "{mode} {version}: the session is resumed"
            );
        })]);
    }
}

#[test]
fn a_client_reads_from_openssl() {
    let authority = Authority::new();
    let folder = Folder::new("openssl");
    let server = authority.server();
    let chain = folder.write("chain", &server.chain);
    let key = folder.write("key", &server.key);
    // It takes no port of the system's choice that it would tell: one that was free a moment ago is.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let accept = format!("127.0.0.1:{port}");
    let arguments = [
        "s_server", "-accept", &accept, "-cert", &chain, "-key", &key, "-www",
    ];
    let Some(mut openssl) = Program::start("openssl", &arguments) else {
        return;
    };
    let ready = openssl.lines().find(|line| line.starts_with("ACCEPT"));
    assert!(ready.is_some(), "it listens");
    let connector = authority.connector().protocols(&[]).build().unwrap();
    run(vec![Box::pin(async {
        let socket = Blocking::new(TcpStream::connect(("127.0.0.1", port)).unwrap());
        let mut stream = connector.connect("127.0.0.1", socket).await.unwrap();
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
        let (page, end) = read_all(&mut stream).await;
        end.unwrap();
        assert!(page.starts_with(b"HTTP/1.0 200 ok\r\n"));
        assert!(String::from_utf8_lossy(&page).contains("TLSv1.3"));
    })]);
}

#[test]
fn a_server_talks_to_openssl_in_both_versions() {
    let authority = Authority::new();
    let acceptor = authority.acceptor().build().unwrap();
    let folder = Folder::new("client");
    let roots = folder.write("roots", &authority.pem());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    for version in ["-tls1_3", "-tls1_2"] {
        let arguments = [
            "s_client",
            "-quiet",
            "-verify_return_error",
            "-CAfile",
            &roots,
            "-servername",
            "server.test",
            "-verify_hostname",
            "server.test",
            "-alpn",
            "http/1.1",
            version,
            "-connect",
            &address,
        ];
        let Some(mut openssl) = Program::start("openssl", &arguments) else {
            return;
        };
        let mut input = openssl.0.stdin.take().unwrap();
        input.write_all(b"a question\n").unwrap();
        run(vec![Box::pin(async {
            let socket = Blocking::new(listener.accept().unwrap().0);
            let mut stream = acceptor.accept(socket).await.unwrap();
            assert_eq!(stream.server_name(), Some("server.test"));
            assert_eq!(stream.protocol(), Some(&b"http/1.1"[..]));
            let mut question = [0; 11];
            stream.read_exact(&mut question).await.unwrap();
            assert_eq!(&question, b"a question\n");
            stream.write_all(b"an answer\n").await.unwrap();
            stream.shutdown().await.unwrap();
        })]);
        assert_eq!(
            openssl.lines().collect::<Vec<_>>(),
            ["an answer"],
            "{version}"
        );
    }
}
