"""A DQN agent: Mnih et al. 2015, "Human-level control through deep reinforcement learning"
(book, 8.5.4)."""
