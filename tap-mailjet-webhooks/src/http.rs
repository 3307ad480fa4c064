//! warp's filters as services of hyper's, which both listeners run behind an accept loop of their own.

use std::convert::Infallible;

use hyper::Request;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::service::TowerToHyperService;
use warp::Filter;
use warp::http::Uri;
use warp::reply::Response;

/// What answers every request by `filter`.
pub(crate) fn service(
    filter: impl Filter<Extract = (Response,), Error = Infallible> + Clone + Send + Sync + 'static,
) -> impl Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send> + Clone {
    let filter = TowerToHyperService::new(warp::service(filter));
    service_fn(move |mut request: Request<Incoming>| {
        // CONNECT names no path, and warp (0.4.3) panics when it is asked for it.
        if request.uri().path_and_query().is_none() {
            *request.uri_mut() = Uri::from_static("/");
        }
        filter.call(request)
    })
}
