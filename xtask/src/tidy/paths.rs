//! No path of someone's own machine in a file of the project: it works nowhere else.

/// Beginnings of paths that exist on one machine only.
const MACHINE: [&str; 4] = ["/root/", "/work/", "/home/", "/Users/"];

/// This file names them.
const EXEMPT: &str = "xtask/src/tidy/paths.rs";

/// Each line that has such a path, as `file:line`.
pub(super) fn check(name: &str, text: &str) -> Vec<String> {
    if name == EXEMPT {
        return Vec::new();
    }
    let lines = text.lines().enumerate();
    lines
        .filter_map(|(index, line)| {
            let path = MACHINE.into_iter().find(|path| begins_path(line, path))?;
            Some(format!("{name}:{}: a path of one machine: {path}", index + 1))
        })
        .collect()
}

/// Whether the path begins there, rather than goes on: `https://host/work/x` and `a/work/b` are others.
fn begins_path(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !(before.is_alphanumeric() || "/._-~}>*".contains(before)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_of_one_machine_are_caught_wherever_they_begin() {
        for line in ["/root/x", "cd /work/main", "let p = \"/home/me/x\";", "DIR=/Users/me/x"] {
            assert_eq!(check("a.md", line).len(), 1, "{line:?}");
        }
        assert_eq!(check("a.md", "one\ntwo /root/x")[0], "a.md:2: a path of one machine: /root/");
    }

    #[test]
    fn paths_that_only_contain_such_a_part_are_fine() {
        for line in
            ["https://example.org/work/1", "my/root/x", "$HOME/work/x", "${D}/home/x", "/root"]
        {
            assert_eq!(check("a.md", line), Vec::<String>::new(), "{line:?}");
        }
    }
}
