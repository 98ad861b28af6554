"""HTTP/2 connections and streams behind one interface, with two engines."""
