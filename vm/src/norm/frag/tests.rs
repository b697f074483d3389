//! Fragments, attack by attack.
