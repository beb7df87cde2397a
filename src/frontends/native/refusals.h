#pragma once
// How conclave.v1 words what went wrong.

#include "api/service.h"

namespace conclave::native {

api::Service::Refusal refusal_of(const api::Error& error);

}  // namespace conclave::native
