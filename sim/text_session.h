#pragma once
// The smallest protocol that reaches the store: one line in, one line out, for workloads of the
// simulator that are about agreement and not about a wire format. Numbers are decimal; keys and
// values hold no blanks.
//
//   client:  <call> put <key> <value> [<client>/<sequence>]      member:  <call> ok <revision>
//            <call> get <key>                                             <call> value <revision>
//            <mod> <value> <call> local <key>     (serializable)                        <call>
//            absent <revision> <call> cas <key> <expect|-> <value>                          <call>
//            swapped <revision> | kept <revision> <call> delete <key> <call> deleted <revision>
//            <count> <call> compact <revision>                                    <call> error
//            <code>

#include <memory>
#include <string>

#include "api/session.h"

namespace conclave::sim {

std::unique_ptr<api::Session> make_text_session();

}  // namespace conclave::sim
