#pragma once
// What a request and its answer weigh, for limits and shares.

#include <cstddef>

#include "api/request.h"

namespace conclave::node {

// Operations of a transaction, with its conditions and those of nested ones; 1 for all others.
std::size_t operations_of(const api::Body& body);
// About what it takes in memory.
std::size_t bytes_of(const api::Request& request);
// What an answer took beside its request, as a share of a turn: about its bytes, and keys deleted.
std::size_t cost_of(const api::Answer& answer);

}  // namespace conclave::node
