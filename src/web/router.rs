//! Which route a path belongs to. A literal goes before a parameter, a parameter before the rest: so paths without any
//! parameter are looked up whole, and only then those with one, in a tree of segments.

use std::collections::BinaryHeap;
use std::fmt;
use std::hint::cold_path;

use crate::conn::{PARAMETERS_MAX, Parameters};
use crate::proto::http1::{Method, RequestHead};

/// The methods of one path, each with its route.
type Methods = Vec<(MethodName, u32)>;

/// A method of a route. Those that the protocol knows are told apart without their names.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct MethodName {
    known: Method,
    name: &'static str,
}

impl MethodName {
    /// The method called `name`.
    pub(super) fn new(name: &'static str) -> Self {
        Self {
            known: Method::from_bytes(name.as_bytes()),
            name,
        }
    }

    #[inline]
    fn is_of(&self, head: &RequestHead) -> bool {
        self.known == head.method() && (self.known != Method::Other || self.is_named_in(head))
    }

    #[cold]
    fn is_named_in(&self, head: &RequestHead) -> bool {
        self.name == head.method_str()
    }
}

/// A path as it was given: what it was mounted under, from the outside in, and its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Path(Vec<&'static str>);

impl Path {
    /// # Panics
    /// When `path` does not begin with a slash.
    #[track_caller]
    pub(super) fn new(path: &'static str) -> Self {
        assert!(
            path.starts_with('/'),
            "the path {path:?} does not begin with a slash"
        );
        Self(vec![path])
    }

    /// The same, mounted under `prefix`.
    pub(super) fn under(&self, prefix: &'static str) -> Self {
        Self([&[prefix], &self.0[..]].concat())
    }

    /// Whether it is the root of its app.
    pub(super) fn is_root(&self) -> bool {
        self.0 == ["/"]
    }

    fn segments(&self) -> impl Iterator<Item = &'static str> {
        let parts = self.0.iter();
        parts.flat_map(|part| part.split('/').skip(1))
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|part| f.write_str(part))
    }
}

/// The method of a route for all methods.
pub(super) const ANY: &str = "*";

/// A route table.
#[derive(Default)]
pub(super) struct Router {
    /// Whole paths, by their length: nearly every look-up compares one.
    literals: Vec<Vec<(Box<str>, Methods)>>,
    root: Node,
}

#[derive(Default)]
struct Node {
    literals: Vec<(&'static str, Node)>,
    parameter: Option<Box<(&'static str, Node)>>,
    rest: Option<(&'static str, Methods)>,
    methods: Methods,
}

/// What became of a look-up.
pub(super) enum Match {
    /// The path's route for the method.
    Route(u32),
    /// The path is known, for other methods: the value of `Allow`.
    OtherMethod(String),
    /// No such path.
    Nothing,
}

impl Router {
    /// Add a route. `{name}` in place of a segment matches any one segment, `{*name}` at the end all that is left.
    ///
    /// # Panics
    /// When a part of the path does not begin with a slash, a name is missing or differs from another route's at the
    /// same place, there are too many parameters, or the route is there already.
    #[track_caller]
    pub(super) fn add(&mut self, method: &'static str, path: &Path, route: u32) {
        let method = MethodName::new(method);
        let whole = path.to_string();
        let parameters = path.segments().filter(|it| name_of(it).is_some()).count();
        assert!(
            parameters <= PARAMETERS_MAX,
            "{whole:?} has more than {PARAMETERS_MAX} parameters"
        );
        let methods = match parameters {
            0 => self.literal(&whole),
            _ => self.root.methods_for(&mut path.segments(), &whole),
        };
        assert!(
            methods.iter().all(|(known, _)| *known != method),
            "there are two routes for {} {whole}",
            method.name
        );
        methods.push((method, route));
    }

    /// The methods of a path without parameters.
    fn literal(&mut self, path: &str) -> &mut Methods {
        if self.literals.len() <= path.len() {
            self.literals.resize_with(path.len() + 1, Vec::new);
        }
        let bucket = &mut self.literals[path.len()];
        let place = bucket.iter().position(|(known, _)| **known == *path);
        let place = place.unwrap_or_else(|| {
            bucket.push((path.into(), Methods::new()));
            bucket.len() - 1
        });
        &mut bucket[place].1
    }

    /// The route for a request. The parameters of its path are added to `parameters`.
    #[inline(always)]
    pub(super) fn find(&self, head: &RequestHead, parameters: &mut Parameters) -> Match {
        let path = head.path_bytes();
        let literal = self
            .literals
            .get(path.len())
            .and_then(|bucket| bucket.iter().find(|(known, _)| known.as_bytes() == path))
            .map(|(_, methods)| methods.as_slice());
        match literal {
            // Nearly every path has one method, and nearly every request that one.
            Some([(method, route)]) if method.is_of(head) => Match::Route(*route),
            _ => {
                cold_path();
                self.search(literal, head, parameters)
            }
        }
    }

    /// The same for a path with parameters, if it is no literal one, and for any number of methods.
    #[inline(never)]
    fn search(
        &self,
        literal: Option<&[(MethodName, u32)]>,
        head: &RequestHead,
        parameters: &mut Parameters,
    ) -> Match {
        let in_tree = || {
            self.root
                .find(head.path(), 1, parameters)
                .map(Vec::as_slice)
        };
        let Some(methods) = literal.or_else(in_tree) else {
            return Match::Nothing;
        };
        let route_of = |is_wanted: &dyn Fn(&MethodName) -> bool| {
            methods
                .iter()
                .find(|(method, _)| is_wanted(method) || method.name == ANY)
                .map(|(_, route)| *route)
        };
        route_of(&|method| method.is_of(head))
            // What can be got can be asked about (RFC 9110, 9.3.2); the connection leaves the body out.
            .or_else(|| match head.method() {
                Method::Head => route_of(&|method| method.known == Method::Get),
                _ => None,
            })
            .map_or_else(|| Match::OtherMethod(allow(methods)), Match::Route)
    }
}

/// The name in `{name}` or `{*name}`, star included.
pub(super) fn name_of(segment: &str) -> Option<&str> {
    segment.strip_prefix('{')?.strip_suffix('}')
}

/// The value of `Allow` (RFC 9110, 10.2.1).
fn allow(methods: &[(MethodName, u32)]) -> String {
    let mut names: Vec<&str> = methods.iter().map(|(method, _)| method.name).collect();
    if names.contains(&"GET") && !names.contains(&"HEAD") {
        names.push("HEAD");
    }
    if !names.contains(&"OPTIONS") {
        names.push("OPTIONS");
    }
    BinaryHeap::from(names).into_sorted_vec().join(", ")
}

impl Node {
    /// Where the routes of a path are kept, whose segments below this node are those that are `left`.
    #[track_caller]
    fn methods_for(
        &mut self,
        left: &mut dyn Iterator<Item = &'static str>,
        path: &str,
    ) -> &mut Methods {
        let Some(segment) = left.next() else {
            return &mut self.methods;
        };
        let node = match name_of(segment) {
            None => {
                let place = self
                    .literals
                    .iter()
                    .position(|(literal, _)| *literal == segment)
                    .unwrap_or_else(|| {
                        self.literals.push((segment, Self::default()));
                        self.literals.len() - 1
                    });
                &mut self.literals[place].1
            }
            Some(name) => {
                let bare = name.trim_start_matches('*');
                assert!(!bare.is_empty(), "a parameter in {path:?} has no name");
                let known = if bare == name {
                    self.parameter
                        .get_or_insert_with(|| Box::new((bare, Self::default())))
                        .0
                } else {
                    assert!(
                        left.next().is_none(),
                        "in {path:?}, {segment} is not the last segment"
                    );
                    self.rest.get_or_insert_with(|| (bare, Methods::new())).0
                };
                assert!(
                    known == bare,
                    "in {path:?}, another route calls {{{bare}}} {{{known}}}"
                );
                match (&mut self.parameter, &mut self.rest) {
                    (Some(parameter), _) if bare == name => &mut parameter.1,
                    (_, Some((_, methods))) => return methods,
                    _ => unreachable!("one of the two was made just above"),
                }
            }
        };
        node.methods_for(left, path)
    }

    /// The methods of the path whose rest begins at `at`, which stands behind a slash.
    fn find(&self, path: &str, at: usize, parameters: &mut Parameters) -> Option<&Methods> {
        let left = path.get(at..)?;
        let segment = left.split('/').next().unwrap_or_default();
        let next = (segment.len() < left.len()).then_some(at + segment.len() + 1);
        if let Some((_, node)) = self
            .literals
            .iter()
            .find(|(literal, _)| *literal == segment)
            && let Some(methods) = node.find_below(path, next, parameters)
        {
            return Some(methods);
        }
        if let Some(parameter) = &self.parameter
            && !segment.is_empty()
        {
            let (name, node) = &**parameter;
            let before = parameters.len();
            parameters.push(name, at..at + segment.len());
            if let Some(methods) = node.find_below(path, next, parameters) {
                return Some(methods);
            }
            parameters.truncate(before);
        }
        let (name, methods) = self.rest.as_ref()?;
        parameters.push(name, at..path.len());
        Some(methods)
    }

    fn find_below(
        &self,
        path: &str,
        next: Option<usize>,
        parameters: &mut Parameters,
    ) -> Option<&Methods> {
        match next {
            Some(next) => self.find(path, next, parameters),
            None => (!self.methods.is_empty()).then_some(&self.methods),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router() -> Router {
        let mut router = Router::default();
        let paths = [
            "/",
            "/users",
            "/users/{id}",
            "/users/me",
            "/users/{id}/posts/{post}",
            "/files/{*path}",
            "/a//b",
        ];
        for (route, path) in paths.into_iter().enumerate() {
            router.add("GET", &Path::new(path), route as u32);
        }
        router.add("POST", &Path::new("/users"), 100);
        router.add(ANY, &Path::new("/any"), 101);
        let mounted = [Path::new("/"), Path::new("/{name}/x")];
        for (route, path) in mounted.iter().enumerate() {
            let path = path.under("/inner").under("/outer");
            router.add("GET", &path, 110 + route as u32);
        }
        router
    }

    #[track_caller]
    fn check(method: &str, path: &str, expected: &str) {
        let mut parameters = Parameters::default();
        let head = RequestHead::build(method, path, &[]).expect("a head");
        let found = match router().find(&head, &mut parameters) {
            Match::Nothing => "nothing".to_owned(),
            Match::OtherMethod(allow) => format!("allow {allow}"),
            Match::Route(route) => parameters
                .iter()
                .fold(route.to_string(), |text, (name, span)| {
                    format!("{text} {name}={}", &path[span])
                }),
        };
        assert_eq!(found, expected, "{method} {path}");
    }

    #[test]
    fn a_literal_goes_before_a_parameter() {
        check("GET", "/users/me", "3");
        check("GET", "/users/7", "2 id=7");
        check("GET", "/users/me/posts/x", "4 id=me post=x");
    }

    #[test]
    fn a_path_is_matched_whole() {
        check("GET", "/", "0");
        check("GET", "/users/", "nothing");
        check("GET", "/users/7/posts", "nothing");
        check("GET", "//", "nothing");
        check("GET", "/a//b", "6");
    }

    #[test]
    fn the_rest_may_have_slashes_and_may_be_empty() {
        check("GET", "/files/a/b.txt", "5 path=a/b.txt");
        check("GET", "/files/", "5 path=");
        check("GET", "/files", "nothing");
    }

    #[test]
    fn a_path_may_be_mounted_under_others() {
        check("GET", "/outer/inner/", "110");
        check("GET", "/outer/inner/a/x", "111 name=a");
        check("GET", "/outer/inner", "nothing");
        check("GET", "/inner/a/x", "nothing");
    }

    #[test]
    fn a_wrong_method_is_told_the_right_ones() {
        check("DELETE", "/users", "allow GET, HEAD, OPTIONS, POST");
        check("POST", "/users/7", "allow GET, HEAD, OPTIONS");
        check("HEAD", "/users/7", "2 id=7");
        check("BREW", "/any", "101");
    }

    #[test]
    #[should_panic(expected = "two routes for GET /users")]
    fn a_route_that_is_there_already_is_refused() {
        router().add("GET", &Path::new("/users"), 9);
    }

    #[test]
    #[should_panic(expected = "another route calls {name} {id}")]
    fn one_place_has_one_name() {
        router().add("GET", &Path::new("/users/{name}"), 9);
    }

    #[test]
    #[should_panic(expected = "does not begin with a slash")]
    fn a_path_begins_with_a_slash() {
        router().add("GET", &Path::new("users"), 9);
    }
}
