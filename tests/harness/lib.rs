//! What the whole-system tests share: real `wrun` processes on loopback, with folders
//! and ports of their own, stopped when a test ends however it ends.
