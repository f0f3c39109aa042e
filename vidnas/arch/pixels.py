"""The values that pixels have when a network is given them: the same for every network, in training and ever after."""

# Of [0, 1], the mean is subtracted and the deviation divides, one for all colours (X3D's and SlowFast's).
MEAN, STD = 0.45, 0.225
