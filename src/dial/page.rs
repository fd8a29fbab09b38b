//! The page's files, built into the program: it needs no network, and no file beside the binary.

/// Name, content type and text of each file. `index.html` is the page itself.
pub(super) const FILES: &[(&str, &str, &str)] = &[
    ("index.html", HTML, include_str!("page/index.html")),
    ("dial.css", CSS, include_str!("page/dial.css")),
    ("mark.svg", SVG, include_str!("page/mark.svg")),
    ("dial.js", JS, include_str!("page/dial.js")),
    ("link.js", JS, include_str!("page/link.js")),
    ("model.js", JS, include_str!("page/model.js")),
    ("draw.js", JS, include_str!("page/draw.js")),
    ("controls.js", JS, include_str!("page/controls.js")),
    ("movement.js", JS, include_str!("page/movement.js")),
    ("timeline.js", JS, include_str!("page/timeline.js")),
    ("ready.js", JS, include_str!("page/ready.js")),
    ("source.js", JS, include_str!("page/source.js")),
    ("wheel.js", JS, include_str!("page/wheel.js")),
    ("slab.js", JS, include_str!("page/slab.js")),
    ("poll.js", JS, include_str!("page/poll.js")),
    ("tasks.js", JS, include_str!("page/tasks.js")),
    ("journey.js", JS, include_str!("page/journey.js")),
    ("inject.js", JS, include_str!("page/inject.js")),
    ("lesson.js", JS, include_str!("page/lesson.js")),
];

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";
const JS: &str = "text/javascript; charset=utf-8";
