//! Events of one shape: the same names in the same order.
//!
//! Mailjet writes the fields of a kind of event in one order, so a day's events have a handful of shapes. What follows from
//! the names alone, whatever the values are, is found out once for each shape and kept.

use catalog::members::Members;

use super::primary_key::CanonicalOrder;
use super::template::Templates;

/// Names that are kept at most, over all shapes. Past that all are forgotten and learnt anew: somebody sends names that do
/// not come again.
const MOST_NAMES: usize = 2_000;
/// Layouts that are kept at most. With what a shape may hold ([`Template`]), that bounds the memory for all of them.
///
/// [`Template`]: super::template::Template
const MOST_SHAPES: usize = 128;
/// Names of one event beyond which its shape is not kept.
const MOST_MEMBERS: usize = 100;
/// Bytes of a name beyond which a shape with it is not kept.
const NAME_BYTES: usize = 128;

/// What follows from the names of an event.
#[derive(Debug)]
pub(in crate::emitter) struct FieldLayout {
    /// How its canonical text is put together.
    pub(in crate::emitter) order: CanonicalOrder,
    /// How its rows are.
    pub(in crate::emitter) templates: Templates,
}

/// The shapes that have been seen: a tree, in which the names of an event are a path.
#[derive(Debug)]
pub(in crate::emitter) struct LayoutCache {
    nodes: Vec<Node>,
    /// How many nodes have a shape.
    shapes: usize,
}

/// The end of a path of names.
#[derive(Debug)]
struct Node {
    /// The last name, with its quotes and escapes.
    quoted_name: Box<str>,
    /// Where the names that can follow lead to.
    next: Vec<usize>,
    /// That of the events whose names end here.
    shape: Option<FieldLayout>,
}

impl Default for LayoutCache {
    fn default() -> Self {
        LayoutCache { nodes: vec![Node::of("")], shapes: 0 }
    }
}

impl Node {
    fn of(quoted_name: &str) -> Self {
        Node { quoted_name: quoted_name.into(), next: Vec::new(), shape: None }
    }
}

impl LayoutCache {
    /// The shape of the events that have these names, unless it is one that is not kept.
    pub(in crate::emitter) fn of(&mut self, members: Members<'_, '_>) -> Option<&mut FieldLayout> {
        let mut at = 0;
        for member in members.iter() {
            let mut next = self.nodes[at].next.iter();
            at = match next.find(|node| *self.nodes[**node].quoted_name == *member.quoted_name) {
                Some(node) => *node,
                None => self.add(at, member.quoted_name, members)?,
            };
        }
        if self.nodes[at].shape.is_none() {
            if self.shapes == MOST_SHAPES {
                *self = LayoutCache::default();
                return None;
            }
            self.shapes += 1;
        }
        let learn = || FieldLayout { order: CanonicalOrder::of(members), templates: Templates::default() };
        Some(self.nodes[at].shape.get_or_insert_with(learn))
    }

    /// Lets `quoted_name`, one of the names of `members`, follow `node`, and leads to it.
    fn add(&mut self, node: usize, quoted_name: &str, members: Members<'_, '_>) -> Option<usize> {
        if members.len() > MOST_MEMBERS || members.iter().any(|member| member.quoted_name.len() > NAME_BYTES)
        {
            return None;
        }
        if self.nodes.len() == MOST_NAMES {
            *self = LayoutCache::default();
            return None;
        }
        let new = self.nodes.len();
        self.nodes.push(Node::of(quoted_name));
        self.nodes[node].next.push(new);
        Some(new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use catalog::members;

    /// Where the shape of `event` is kept.
    fn kept(shapes: &mut LayoutCache, event: &str) -> Option<*const FieldLayout> {
        let spans = members::parse_object(event).expect("an object");
        shapes.of(Members::new(event, &spans)).map(|shape| std::ptr::from_ref(shape))
    }

    #[test]
    fn a_shape_is_its_names_in_their_order() {
        let mut shapes = LayoutCache::default();
        let events = [
            r#"{"a":1,"b":2}"#,
            r#"{"b":1,"a":2}"#,
            r#"{"a":1}"#,
            "{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0062":2}"#,
        ];
        // All of them are there before any place is taken: the tree moves while it grows.
        for event in events {
            assert!(kept(&mut shapes, event).is_some());
        }
        let places = events.map(|event| kept(&mut shapes, event));
        for (number, place) in places.iter().enumerate() {
            assert!(!places[..number].contains(place), "{}", events[number]);
        }
        assert_eq!(kept(&mut shapes, r#"{"a":{"b":2}, "b" :"x"}"#), places[0]);
        assert_eq!(kept(&mut shapes, "{ }"), places[3]);
    }

    #[test]
    fn shapes_that_do_not_come_again_take_no_memory() {
        let mut shapes = LayoutCache::default();
        for number in 0..10_000 {
            kept(&mut shapes, &format!(r#"{{"event":1,"f{number}":2}}"#));
            assert!(shapes.nodes.len() <= MOST_NAMES && shapes.shapes <= MOST_SHAPES);
        }
        let long = format!(r#"{{"{}":1}}"#, "n".repeat(NAME_BYTES));
        let many: Vec<_> = (0..=MOST_MEMBERS).map(|number| format!(r#""f{number}":1"#)).collect();
        assert_eq!(kept(&mut shapes, &long), None);
        assert_eq!(kept(&mut shapes, &format!("{{{}}}", many.join(","))), None);
        assert!(kept(&mut shapes, "{}").is_some());
    }
}
