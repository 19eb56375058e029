from .curves import curves_figure as curves_figure
from .lottery import initializations_figure as initializations_figure
from .lottery import lottery_figure as lottery_figure
from .masks import layers_figure as layers_figure
from .masks import masks_figure as masks_figure
from .race import race_figure as race_figure
from .stability import Interpolation as Interpolation
from .stability import stability_figure as stability_figure
