from .scaled import ScaledLearningRates as ScaledLearningRates
from .scaled import scaled_learning_rates as scaled_learning_rates
