// Turns OpenTelemetry tracing on: node --import ./opentelemetry.mjs dist/src/main.js. docs/metrics.md says what to install
// beside it. The usual OTEL_* variables say where spans go and how many are taken.
import { register } from "node:module";
import { GrpcInstrumentation } from "@opentelemetry/instrumentation-grpc";
import { IORedisInstrumentation } from "@opentelemetry/instrumentation-ioredis";
import { NodeSDK } from "@opentelemetry/sdk-node";

// The server is made of ES modules: only what goes through this hook can be instrumented.
register("@opentelemetry/instrumentation/hook.mjs", import.meta.url);

process.env.OTEL_SERVICE_NAME ??= "api-token-service";
// Metrics are METRICS_ADDRESS's, logs are on standard error.
process.env.OTEL_METRICS_EXPORTER ??= "none";
process.env.OTEL_LOGS_EXPORTER ??= "none";
// The server exits when it has drained: what is not sent by then is lost.
process.env.OTEL_BSP_SCHEDULE_DELAY ??= "1000";

new NodeSDK({
  instrumentations: [
    // Its defaults take no metadata: `authorization` is among it.
    new GrpcInstrumentation(),
    // The name of a command only: its arguments are ids, names, hashes, and the password of Redis.
    new IORedisInstrumentation({ dbStatementSerializer: (command) => command }),
  ],
}).start();
