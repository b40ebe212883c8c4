#include "ops/weight_quant/weight_quant.h"
