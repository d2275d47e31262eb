package example.apitoken;

import com.google.protobuf.Any;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.rpc.BadRequest;
import com.google.rpc.BadRequest.FieldViolation;
import com.google.rpc.ErrorInfo;
import com.google.rpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.List;

/**
 * A failed call with its details unpacked. Act on {@code reason}; {@code domain} is empty when it was not apitokend that
 * refused, but the network or gRPC itself.
 */
record Refusal(String code, String domain, String reason, String sqlState, List<FieldViolation> violations) {

  /** Reads the exception that a call threw. */
  static Refusal of(StatusRuntimeException error) {
    String code = error.getStatus().getCode().name();
    ErrorInfo info = ErrorInfo.getDefaultInstance();
    List<FieldViolation> violations = List.of();
    Status status = StatusProto.fromThrowable(error);
    try {
      for (Any detail : status == null ? List.<Any>of() : status.getDetailsList()) {
        if (detail.is(ErrorInfo.class)) info = detail.unpack(ErrorInfo.class);
        if (detail.is(BadRequest.class)) violations = detail.unpack(BadRequest.class).getFieldViolationsList();
      }
    } catch (InvalidProtocolBufferException unreadable) {
      // The code alone has to do.
    }
    String sqlState = info.getMetadataOrDefault("sql_state", "");
    return new Refusal(code, info.getDomain(), info.getReason(), sqlState, violations);
  }

  @Override
  public String toString() {
    StringBuilder text = new StringBuilder(code);
    if (!domain.isEmpty()) text.append(" %s/%s %s".formatted(domain, reason, sqlState));
    for (FieldViolation violation : violations) {
      text.append(" [%s: %s]".formatted(violation.getField(), violation.getDescription()));
    }
    return text.toString();
  }
}
