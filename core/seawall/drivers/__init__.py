"""The only room that knows time, threads or an event loop."""
