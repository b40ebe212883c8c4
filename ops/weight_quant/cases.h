// Shapes for the test and the bench.
#pragma once
