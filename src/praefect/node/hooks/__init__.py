"""Hooks: how git calls back into the node, and what the node does then.

``runtime`` opens everything. ``directory`` writes the small programs that git starts, ``helper`` is their text,
``socket_server`` what they talk to; ``payload`` says on whose behalf git runs, ``setup`` gives it to commands.
``handlers`` is what each hook does, ``custom_hooks`` runs what administrators installed, ``internal_api`` asks the
front door, ``reference_update`` is the same sequence without git in between.
"""
