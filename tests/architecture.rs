//! The arrows between the modules run one way.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::Path;

fn sources(folder: &Path, out: &mut Vec<std::path::PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, out);
        } else if path.extension().is_some_and(|e| e == "rs") {
            out.push(path);
        }
    }
}

#[test]
fn every_module_uses_only_what_lies_below_it() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let rules: &[(&str, &[&str], &[&str])] = &[
        ("domain", &["domain"], &["kube", "tokio", "tiberius", "psrp", "k8s_openapi"]),
        ("systems", &["domain", "systems"], &["kube", "k8s_openapi"]),
        (
            "steps",
            &["domain", "systems", "permit", "steps"],
            &["kube", "tokio", "tiberius", "psrp", "k8s_openapi"],
        ),
        (
            "engine",
            &["domain", "systems", "permit", "steps", "procedures", "engine"],
            &["kube", "tiberius", "psrp", "k8s_openapi"],
        ),
        ("api", &["domain", "api", "engine", "steps"], &["tokio", "tiberius", "psrp"]),
    ];
    let mut looked_at = 0;
    for (module, ours, foreign) in rules {
        let mut files = Vec::new();
        sources(&src.join(module), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for (at, _) in text.match_indices("crate::") {
                let rest = &text[at + 7..];
                assert!(
                    ours.iter().any(|o| rest.starts_with(o)),
                    "{} reaches up (or names several modules at once): crate::{}",
                    file.display(),
                    rest.lines().next().unwrap_or_default()
                );
            }
            for name in *foreign {
                let used = [format!("use {name}::"), format!(" {name}::"), format!("({name}::")];
                assert!(!used.iter().any(|u| text.contains(u.as_str())), "{} uses {name}", file.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 35, "{looked_at}");
}
