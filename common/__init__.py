"""What the nine experiments share: data, models, training, statistics, plotting and the frame around them."""
