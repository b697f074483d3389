//! The formatter on every pf.conf at hand: formatting twice is formatting once, and no token changes.

use std::collections::BTreeMap;

use tests::fuzz::meaning;
use tests::{answers, shared};

fn check(name: &str, files: &BTreeMap<String, Vec<u8>>, input: &[u8]) {
    let once = pfc::fmt::format(input);
    let twice = pfc::fmt::format(&once);
    let show = |text: &[u8]| String::from_utf8_lossy(text).into_owned();
    assert_eq!(show(&once), show(&twice), "{name}: formatting is not idempotent on\n{}", show(input));
    let (before, after) = (meaning(files, input), meaning(files, &once));
    assert_eq!(before, after, "{name}: formatting changes\n{}\nto\n{}", show(input), show(&once));
}

#[test]
fn recorded_inputs_keep_their_meaning() {
    for collection in ["visible", "opt-visible", "args-visible"] {
        for answer in answers(collection).unwrap_or_default() {
            let files = answer.files.iter().map(|(name, text)| (name.clone(), text.clone().into_bytes())).collect();
            check(&answer.name, &files, answer.input.as_bytes());
        }
    }
}

#[test]
fn corpora_keep_their_meaning() {
    for folder in ["pf/corpus/pf", "pf/corpus/pfail", "pf/realworld"] {
        let Some(path) = shared(folder) else { return };
        let mut seen = 0;
        for entry in std::fs::read_dir(path).expect("the corpus is readable").flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|ext| ext == "in" || ext == "conf") {
                let text = std::fs::read(&path).expect("the file is readable");
                check(&path.display().to_string(), &BTreeMap::new(), &text);
                seen += 1;
            }
        }
        assert!(seen > 10, "{folder} holds {seen} files");
    }
}

#[test]
fn hostile_blanks_keep_their_meaning() {
    let none = BTreeMap::new();
    for text in [
        "port = \"80\"\npass proto tcp to port $port#c\npass proto tcp to port $port<9\n",
        "pass to port 5#c\npass to port 5><6\npass to port 5 ><6\npass to port 5>< 6\n",
        "pass in \\\n  on em0 \\\n# x\nblock\n",
        "pass in\\\n on em0\npa\\\nss\nlabel\\ x\n",
        "# ends in a backslash \\ \npass\n# continued \\\nblock\n",
        "table < a b > { 1.1.1.1,2.2.2.2 }\ntable <444> {}\ntable < 444 > {}\n",
        "a=\"x\"b = \"y\"'z'\npass from !1.1.1.1 to ! <t> port ! = 5\n",
        "pass from 1.1.1.1 - 2.2.2.2\npass from 1.1.1.1 -2\npass from a- b\n",
        "anchor x{\npass #c\n\n\n\n\nanchor y {\n}\n}\n",
        "pass to {\n1.1.1.1 # a\n\t2.2.2.2 , # long comment\n3.3.3.3\n}\n",
        "pass in\r\n# x\r\nblock\r\n\"open\n",
        "\u{feff}pass\n",
        "\\\n",
        "x \\ \n y\n",
    ] {
        check(text, &none, text.as_bytes());
    }
}

#[test]
fn lays_out() {
    let messy = "ext=\"em0\"   # outside\nint_if = \"em1\"#inside\nset   skip on{lo}\nanchor \"x\"  on $ext{\npass in  quick proto tcp from !<bad> to ( em0 ) port{80,443}keep state(max 5,sloppy)\n  }\n\n\n\n\nblock return-rst(ttl 5)   in \\\n proto tcp from { 10/8 \n 11/8 }\n";
    let neat = "ext = \"em0\"    # outside\nint_if = \"em1\" #inside\nset skip on { lo }\nanchor \"x\" on $ext{\n\tpass in quick proto tcp from !<bad> to (em0) port { 80, 443 } keep state (max 5, sloppy)\n}\n\n\nblock return-rst(ttl 5) in \\\n\tproto tcp from { 10/8\n\t11/8 }\n";
    assert_eq!(String::from_utf8_lossy(&pfc::fmt::format(messy.as_bytes())), neat);
}
