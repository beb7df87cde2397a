#pragma once
// conclave.v1.Znodes: its messages and what they mean.

#include "api/service.h"
#include "api/zookeeper.h"
#include "conclave.pb.h"

namespace conclave::native {

api::zk::ImportRequest znodes_step(const v1::ImportRequest& from);
v1::ExportResponse znodes_part(const api::zk::Tree& from);
// REQUIRES: the code is not kOk.
api::Service::Refusal refusal_of(const api::zk::Reply& reply);

}  // namespace conclave::native
