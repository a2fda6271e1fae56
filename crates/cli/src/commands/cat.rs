//! `cat`: the bytes of one object.
