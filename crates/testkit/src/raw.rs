use bytes::Bytes;
use http::{HeaderName, Request, header::CONTENT_TYPE};
use http_body_util::{BodyExt as _, Full};
use tonic::{Status, body::Body};
use tower::ServiceExt as _;

use crate::{Api, Method};

impl Api {
    /// Sends these bytes as the body of a call, framing and all, and returns the first bytes of the answer. What went wrong below
    /// gRPC is told as a status without details.
    ///
    /// # Errors
    ///
    /// The status that it answered with.
    ///
    /// # Panics
    ///
    /// When a header cannot be sent.
    pub async fn send_bytes(&self, method: &Method, body: Bytes, headers: &[(&str, &str)]) -> Result<Bytes, Status> {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let mut request = Request::post(path)
            .header(CONTENT_TYPE, "application/grpc")
            .header("te", "trailers")
            .body(Body::new(Full::new(body)))
            .expect("names make a path");
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("the name of a header");
            request
                .headers_mut()
                .append(name, value.parse().expect("the value of a header"));
        }
        let broken = |what: &str| Status::unknown(format!("no answer: {what}"));
        let response = self.channel().oneshot(request).await;
        let response = response.map_err(|error| broken(&error.to_string()))?;
        if let Some(status) = Status::from_header_map(response.headers()) {
            return Err(status);
        }
        let mut body = response.into_body();
        let mut received = Bytes::new();
        while let Some(frame) = body.frame().await {
            match frame?.into_data() {
                Ok(data) if method.is_server_streaming() => return Ok(data),
                Ok(data) => received = data,
                Err(frame) => {
                    let trailers = frame.into_trailers().map_err(|_| broken("an unknown frame"))?;
                    let status = Status::from_header_map(&trailers).ok_or_else(|| broken("no status"))?;
                    return if status.code() == tonic::Code::Ok {
                        Ok(received)
                    } else {
                        Err(status)
                    };
                }
            }
        }
        Err(broken("the answer ends without a status"))
    }
}
