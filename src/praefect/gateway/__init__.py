"""The front door for git clients: smart HTTP, the internal API for hooks, projects and the status page."""
