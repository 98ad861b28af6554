"""The Gitaly-compatible storage node: services call git, git works on storage."""
