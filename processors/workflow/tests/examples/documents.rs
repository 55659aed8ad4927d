//! Pages elsewhere that show an example show the one that is run.

use crate::example::{Example, root, text, yaml};

#[test]
fn chord_in_the_guide_is_the_example() {
    let guide = text(&root().join("docs/from-celery.md"));
    let shown = guide.split("```yaml\n").nth(1).and_then(|rest| rest.split("```").next());
    let shown = yaml(shown.expect("a definition"));
    let run = Example::read("map-reduce").definitions.pop().expect("a workflow");
    assert_eq!(shown, run);
}
