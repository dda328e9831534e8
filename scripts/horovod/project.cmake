# Read by CMake as part of Horovod's own `project(horovod)` call, through CMAKE_PROJECT_horovod_INCLUDE (see cmake-wrapper).
# It changes what Horovod's build assumes about the world, and for the sake of elastic jobs three functions.

# Horovod asks for C++14, its Gloo for C++11; torch's headers want C++17 since 2.1 and C++20 since 2.13. Both ask through
# CMAKE_CXX_STANDARD, which they set themselves and which therefore cannot be overridden: what CMake then writes on the
# command line can.
foreach(standard 11 14 17)
  set(CMAKE_CXX${standard}_STANDARD_COMPILE_OPTION "-std=c++20")
endforeach()

# A CUDA compiler that happens to be on the machine is of no use to a torch without CUDA, but Horovod would test and enable it,
# and stop where that compiler and the C++ one do not agree.
if("$ENV{HVDTRAIN_CUDA}" STREQUAL "0")
  set(CMAKE_CUDA_COMPILER "CMAKE_CUDA_COMPILER-NOTFOUND" CACHE FILEPATH "not used" FORCE)
  set(CMAKE_DISABLE_FIND_PACKAGE_CUDAToolkit ON)
endif()

# ---- what is changed for the sake of elastic jobs, in Horovod 0.28.1 and its Gloo -----------------------------------------

function(change file from to)
  set(path "${CMAKE_CURRENT_SOURCE_DIR}/${file}")
  file(READ "${path}" source)
  string(FIND "${source}" "${to}" place)
  if(NOT place EQUAL -1)
    return() # CMake configures a tree anew where it takes it for old.
  endif()
  string(FIND "${source}" "${from}" place)
  if(place EQUAL -1)
    message(FATAL_ERROR "${file} is not that of Horovod 0.28.1: see whether it still needs what project.cmake changes")
  endif()
  string(REPLACE "${from}" "${to}" source "${source}")
  file(WRITE "${path}" "${source}")
endfunction()

# Where a collective fails, because a worker is gone, PerformOperation tells whoever waits for it, and the engine's loop goes
# on with the next over the same connections. Those still carry what the others sent for the one that failed: a message that
# finds no buffer stops its connection for as long as Gloo waits (prepareRead in Gloo's tcp/pair.cc), and one that finds a
# smaller buffer, of the next collective, aborts the process. Here the loop of an elastic job ends, as it does where the
# agreement on what comes next fails.
change(horovod/common/operations.cc [[        << "ExecuteOperation Failed";
    status = Status::UnknownError(ex.what());
]] [[        << "ExecuteOperation Failed";
    status = Status::UnknownError(ex.what());
    if (horovod_global.elastic_enabled) {
      for (auto& e : entries) {
        timeline.End(e.tensor_name, nullptr);
        e.FinishWithCallback(status);
      }
      throw;
    }
]])

# An engine that starts anew sets its defaults again. Where a knob has been fixed from the environment, its default is written
# in the place of another one, or behind the last: with a fixed cycle time the fusion threshold becomes 1 MiB, while it is
# 128 MiB in a worker that starts for the first time, so that one fuses what the other does not; with both fixed it crashes.
change(horovod/common/parameter_manager.cc [[  } else {
    Eigen::VectorXd v = TunableParameter::BestValue();
]] [[  } else if (fixed_values_.find(variable) == fixed_values_.end()) {
    Eigen::VectorXd v = TunableParameter::BestValue();
]])

# Where a connection ends, Gloo tells those who wait for messages that have not begun, and not those whose message was under
# way: with gradients that take a while most are, and their workers waited for as long as Gloo does.
change(third_party/gloo/gloo/transport/tcp/pair.cc [[    if (op.buf != nullptr) {
      op.buf->signalException(ex);
    }
  }
]] [[    if (op.buf != nullptr) {
      op.buf->signalException(ex);
    }
    NonOwningPtr<UnboundBuffer> sending(op.ubuf);
    if (sending) {
      sending->signalException(ex);
    }
  }
  {
    NonOwningPtr<UnboundBuffer> receiving(rx_.ubuf);
    if (receiving) {
      receiving->signalException(ex);
    }
  }
]])

# By this a program knows that all of it is so.
change(horovod/common/operations.cc [[void horovod_shutdown() {
]] [[bool horovod_starts_anew() { return true; }

void horovod_shutdown() {
]])
