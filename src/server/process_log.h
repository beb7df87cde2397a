#pragma once
// Where LOG() goes in a running server: standard error, one line each, with time and level. From
// any thread.

#include "base/log.h"

namespace conclave::server {

// REQUIRES: called before other threads exist.
void start_process_log(LogLevel lowest);

}  // namespace conclave::server
