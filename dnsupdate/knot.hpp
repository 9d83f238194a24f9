#pragma once
// libknot's headers have no extern "C" of their own.
extern "C" {
#include <libknot/libknot.h>
}
