//! What only real servers can show.

mod functions;
mod model;
mod scripts;
