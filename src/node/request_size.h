#pragma once
// What a request weighs, for limits and shares.

#include <cstddef>

#include "api/request.h"

namespace conclave::node {

// Operations of a transaction, with its conditions and those of nested ones; 1 for all others.
std::size_t operations_of(const api::Body& body);
// Of keys, ranges' ends and values of a read; other requests have next to nothing: 0.
std::size_t bytes_of(const api::Body& body);

}  // namespace conclave::node
