//! What only real servers can show.

mod cluster;
mod events;
mod functions;
mod model;
mod scheduled;
mod scripts;
mod server;
mod sweep;
mod websocket;
