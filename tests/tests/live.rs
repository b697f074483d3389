//! Live behaviours: real clients and servers, real stacks, the filter between them.
//!
//! Tests are named by the numbers of the catalogue of behaviours. The rows that packets alone can show stand as scripts
//! in `corpus/behaviours`.

mod live {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use tests::live::{Bed, Plan, Running, Space};

    /// A page server; whoever can reach it reads `word`.
    fn page(bed: &Bed, on: &Space, port: u16, word: &str) -> Running {
        let folder = bed.folder().join(format!("page-{port}-{word}"));
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("index.html"), word).unwrap();
        on.serve(&format!("python3 -m http.server --bind :: --directory {} {port}", folder.display()), "tcp", port)
    }

    /// A server that sends back what it gets, for as long as the test runs.
    fn echo(on: &Space, port: u16) {
        let listener = on.within(|| TcpListener::bind(("::", port)).unwrap());
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    let (mut from, mut to) = (stream.try_clone().unwrap(), stream);
                    let _ = std::io::copy(&mut from, &mut to);
                });
            }
        });
    }

    fn connect(from: &Space, to: &str) -> std::io::Result<TcpStream> {
        let to = to.parse().unwrap();
        from.within(|| {
            let stream = TcpStream::connect_timeout(&to, Duration::from_secs(3))?;
            stream.set_read_timeout(Some(Duration::from_secs(3)))?;
            Ok(stream)
        })
    }

    /// Whether a word comes back.
    fn echoes(stream: &mut TcpStream, word: &str) -> bool {
        let mut back = vec![0; word.len()];
        stream.write_all(word.as_bytes()).is_ok() && stream.read_exact(&mut back).is_ok() && back == word.as_bytes()
    }

    #[test]
    fn the_bed_forwards_and_watches() {
        let plan = Plan { router: true, unfiltered: true, ..Plan::default() };
        let Some(bed) = Bed::planned(plan, "") else { return };
        assert!(bed.client.pings("203.0.113.10") && bed.client.pings("2001:db8:3::10"));
        let _page = page(&bed, &bed.server, 80, "hello");
        for url in ["http://203.0.113.10/", "http://[2001:db8:3::10]/"] {
            assert_eq!(bed.fetch(&bed.client, url).as_deref(), Some("hello"), "{url}");
        }
        assert_eq!(bed.fetch(&bed.client, "http://203.0.113.10:81/"), None);
        echo(&bed.server, 7);
        assert!(echoes(&mut connect(&bed.client, "203.0.113.10:7").unwrap(), "word"));
        let (near, gate) = bed.inside();
        let seen = bed.outside().0.capture("icmp");
        near.send(&gate, &["icmp 192.0.2.10 > 203.0.113.10 echoreq id 77 seq 1"]);
        let packets = seen.wait(2);
        let fields = |name| packets.iter().filter_map(|p| p.field(name)).collect::<Vec<_>>();
        assert_eq!(fields("src"), ["192.0.2.10", "203.0.113.10"]);
        assert_eq!((fields("id"), fields("ttl")), (vec!["77".to_owned(); 2], vec!["62".to_owned(), "64".to_owned()]));
    }
}
