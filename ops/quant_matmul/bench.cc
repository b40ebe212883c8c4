#include "ops/quant_matmul/quant_matmul.h"
